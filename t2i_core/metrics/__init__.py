"""Measuring: features -> statistics -> a number with its interval and its protocol.

`stats` intervals; `moments` means and covariances; `frechet` FID and KID; `manifold` precision, recall, density and
coverage; `cost` seconds and memory of drawing; `cmd` GR-GAN's Cross-Model Distance;
`inception_score`; `retrieval` R-precision and recall at k; `clip_score` the cosine of image and caption; `inspector`
the feature network of the toy worlds, which also reads objects, colours and places; the scorer is the text-image
encoder that scores and never trains a generator; `soa`, `binding` and `layout` what the caption names against what the
inspector finds; `weights` what is shipped; `build` how it was made; `instruments` every measure of images and what they
were drawn for; `drawing` and `folder` where the images come from; `evaluate` all of it on a run, its stages, a folder.
"""

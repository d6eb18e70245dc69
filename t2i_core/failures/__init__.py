"""How GANs fail: found in a run's log and images, counted, and shown.

`sample` what was drawn beside the real images of the same captions; `log` the game of generator and discriminator;
`signatures` of a whole set of images or a training; `cases` single images that fail, by kind; `figures` both, drawn.
"""

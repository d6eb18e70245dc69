"""Human evaluation: pictures shown blind to several raters, and what their answers say.

`questions` what is asked and answered; `study` the folder with pictures, key and ratings; `page` the widget that asks;
`scores` mean ranks, agreement, comparison, correlation with automatic metrics; `figures` these, drawn.
"""

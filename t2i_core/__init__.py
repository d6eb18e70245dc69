"""Text-to-image GANs from their papers, trained and measured on captions they can be checked against.

Importing the package is cheap: it loads neither torch nor torchvision. It only makes sure that torchvision, when
somebody imports it later, also imports beside a torch for which its compiled part was not built
(see `t2i_core.torchvision_ops`).
"""

from t2i_core.torchvision_ops import install

__version__ = "0.1.0"

install()

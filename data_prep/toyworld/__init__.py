"""Toy worlds: drawn pictures with captions, and the ground truth that no real dataset has.

| world       | stands for   | shows                                                                |
|-------------|--------------|----------------------------------------------------------------------|
| toy-scenes  | MS-COCO      | one to three coloured things, placed, in one of six settings         |
"""

from data_prep.toyworld.prepare import WORLDS, draw, prepare
from data_prep.toyworld.scene import Scene

__all__ = ["WORLDS", "Scene", "draw", "prepare"]

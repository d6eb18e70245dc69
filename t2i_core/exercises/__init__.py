"""Answers to the notebooks' exercises, checked by their properties: right, or which property fails, in plain words.

An exercise's check is a function that yields (property in words, predicate) pairs; the first predicate that is false
ends it. A property says what an answer must fulfil, never what the answer is. They stand in `of_systems` (notebooks 00
to 09) and `of_results` (10 to 13).
"""

from t2i_core.exercises import of_results, of_systems
from t2i_core.exercises.checking import CHECKS, Verdict, check

__all__ = ["CHECKS", "Verdict", "check", "of_results", "of_systems"]

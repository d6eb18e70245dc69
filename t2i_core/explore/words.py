"""The caption as a user types it: what may come next, which of its words are known, and captions to begin with."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from t2i_core.captions import Tokens, split_words
from t2i_core.explore.said import COLOURS

ANOTHER = ("black", "brown", "blue", "red")  # a colour to change to: the first of these that the systems know
EXAMPLES: dict[str, tuple[str, ...]] = {
    "toy-scenes": (
        "a small red house on the left in the snow",
        "a yellow kite in the sky and a blue car on the right in the desert",
        "a large green tree in the middle on the beach",
        "a white boat by the sea and a pink balloon in the air",
        "a purple dog left of an orange flower in a meadow",
        "a yellow plane flies over a pink house in the city at night",
    ),
    "toy-birds": (
        "this bird has a red crown, yellow wings and a long black bill",
        "a flying bird with blue wings and a white belly under a clear sky",
        "a bird with a green breast and a stubby orange beak is perched on a branch in the forest",
        "a standing bird with brown wings and a yellow cap by a lake",
    ),
    "toy-flowers": (
        "a flower with five round red petals and a yellow center in a garden",
        "a blossom with eight narrow white petals and broad leaves among rocks",
        "this plant has a brown center and six pointed purple petals",
        "a blue flower with four notched petals on a wooden table",
    ),
    "toy-faces": (
        "a young person with red hair, glasses and a smile",
        "the old person has gray hair, a receding hairline and a beard",
        "a person with long blond hair and gold earrings in front of a blue wall",
        "a smiling young person with dark skin and short black hair",
    ),
}


def completions(caption: str, vocabulary: Sequence[str], most: int = 8) -> tuple[str, ...]:
    """The caption with its last word completed, in alphabetical order; nothing where none is begun."""
    found = split_words(caption)
    if not found or not caption[-1:].isalnum():
        return ()
    word, start, _ = found[-1]
    fitting = sorted(known for known in vocabulary if known.startswith(word) and known != word and known[0] != "<")
    return tuple(caption[:start] + known for known in fitting[:most])


def one_word_changed(caption: str, known: Collection[str] = ()) -> str:
    """The caption with its first colour replaced by another of the words ``known``: a change to begin with.

    A caption without a colour stays as it is.
    """
    for word, start, end in split_words(caption):
        if word in COLOURS:
            new = next((one for one in ANOTHER if one != word and (one in known or not known)), word)
            return caption[:start] + new + caption[end:]
    return caption


def labels(tokens: Tokens) -> tuple[str, ...]:
    """The words of a single caption as buttons name them; one that the vocabulary does not hold ends in " ?"."""
    return tuple(f"{word} ?" if word in tokens.unknown[0] else word for word in tokens.words[0])

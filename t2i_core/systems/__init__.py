"""The systems by name: ``available()`` lists them, ``create(...)`` builds one."""

from __future__ import annotations

import torch

from t2i_core import encoders
from t2i_core.captions import Vocabulary
from t2i_core.config import Profile, nearest
from t2i_core.config import profile as find_profile
from t2i_core.matcher import Matcher
from t2i_core.systems.alr_gan import ALRGAN
from t2i_core.systems.attngan import AttnGAN
from t2i_core.systems.base import Generated, System, SystemConfig
from t2i_core.systems.cgan import CGAN
from t2i_core.systems.df_gan import DFGAN
from t2i_core.systems.dm_gan import DMGAN
from t2i_core.systems.galip import GALIP
from t2i_core.systems.gan_cls import GANCLS
from t2i_core.systems.gr_gan import GRGAN
from t2i_core.systems.ratlip import RATLIP
from t2i_core.systems.sdn import SDN
from t2i_core.systems.stackgan import StackGAN

_STUDY: tuple[type[System], ...] = (CGAN, GANCLS, StackGAN, SDN)
_ALL: tuple[type[System], ...] = (*_STUDY, AttnGAN, DMGAN, GRGAN, ALRGAN, DFGAN, GALIP, RATLIP)
_SYSTEMS = {system.name: system for system in _ALL}

__all__ = [
    "Generated",
    "System",
    "SystemConfig",
    "available",
    "check_training",
    "configure",
    "create",
    "matcher_kind",
    "variants",
]


def available() -> tuple[str, ...]:
    """The names ``create`` knows."""
    return tuple(_SYSTEMS)


def variants(name: str) -> dict[str, dict]:
    """A system's ablations: variant name -> switches of its configuration."""
    return _SYSTEMS[nearest(name, _SYSTEMS, "system")].variants


def matcher_kind(name: str, variant: str = "default", switches: dict | None = None) -> str:
    """The kind of matching model that a system is built on."""
    cls = _SYSTEMS[nearest(name, _SYSTEMS, "system")]
    chosen = cls.variants[nearest(variant, cls.variants, f"variant of {name}")] | (switches or {})
    return chosen.get("encoder", cls.matchers[0])


def check_training(name: str, config: SystemConfig, variant: str) -> None:
    """Raise a UserError where a configuration is only to be looked at and not to be trained."""
    _SYSTEMS[name].check_training(config, variant)


def create(
    name: str,
    profile: str | Profile = "mini",
    vocabulary: Vocabulary | None = None,
    *,
    variant: str = "default",
    matcher: Matcher | None = None,
    seed: int = 0,
    **switches,
) -> System:
    """Build a system with freshly initialised weights.

    ``matcher`` is the pre-trained matching model, whose vocabulary and text size the system then has; without it an
    untrained one is made for ``vocabulary``. ``variant`` and ``switches`` change the system's configuration. Unknown
    names raise a UserError with the nearest one.
    """
    p = find_profile(profile) if isinstance(profile, str) else profile
    configure(name, p, variant, switches)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if matcher is None:
            if vocabulary is None:
                raise TypeError("create needs a vocabulary, or a matcher that has one")
            matcher = encoders.fresh(matcher_kind(name, variant, switches), p, vocabulary)
        given = {"text_dim": matcher.config.text_dim, "max_words": matcher.vocabulary.max_words}
        return _SYSTEMS[name](configure(name, p, variant, switches, given), matcher)


def configure(
    name: str, p: Profile, variant: str = "default", switches: dict | None = None, given: dict | None = None
) -> SystemConfig:
    """The configuration of a system: the profile, under ``given``, the variant and ``switches``, in this order.

    Builds nothing, so that an unknown name is heard of before any work is done.
    """
    cls = _SYSTEMS[nearest(name, _SYSTEMS, "system")]
    chosen = cls.variants[nearest(variant, cls.variants, f"variant of {name}")]
    return cls.Config.of(p, **((given or {}) | chosen | (switches or {})))

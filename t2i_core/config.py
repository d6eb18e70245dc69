"""What a run is: profiles, the run configuration, and the errors a user can mend.

One code path, four sizes: a :class:`Profile` fixes image sizes, widths and step counts, a :class:`RunConfig` names one
training run inside a profile. Both are frozen; unknown keys raise; what was resolved is saved with the run.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

SHIPPED = Path(__file__).resolve().parent / "weights" / "zoo"  # the trained systems that come with the package
STALE = "stale"  # the folder of what other code left in a run folder: nothing is deleted
# each library counts its own threads; two processes with two threads each on two cores wait for one another
THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
MADE_BY = "T2I_NOTEBOOK"  # the environment variable by which a reproduction tells what its notebooks leave


class UserError(ValueError):
    """A mistake the user can mend: the message says what is wrong and what to do. The command line exits with 2."""


def nearest(name: str, choices: Iterable[str], kind: str) -> str:
    """Return ``name`` if it is one of ``choices``; otherwise raise a :class:`UserError` that names the nearest one."""
    choices = sorted(choices)
    if name in choices:
        return name
    close = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UserError(f"unknown {kind} {name!r}; {hint}choose one of: {', '.join(choices)}")


def atomic_write(path: str | Path, content: bytes | str) -> Path:
    """Write a whole file or nothing: a temporary file beside it is renamed over ``path`` once it is on disk."""
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another folder"
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    return path


def set_aside(root: str | Path, paths: Iterable[str]) -> Path:
    """Move files and folders, named relative to ``root``, to a folder below ``root``/stale; returns that folder."""
    shelf = Path(root) / STALE / time.strftime("%Y%m%d-%H%M%S")
    for path in paths:
        (shelf / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(Path(root) / path, shelf / path)
    return shelf


def write_json(path: str | Path, value: object) -> Path:
    """Write ``value`` as JSON, atomically; a NaN or an infinity is refused, since JSON has none."""
    return atomic_write(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


@dataclass(frozen=True)
class Profile:
    """One size of the whole reproduction. Widths follow the papers' letters (ngf, ndf: generator, discriminator)."""

    name: str
    resolutions: tuple[int, ...]  # of the three stages
    ngf: int
    ndf: int
    text_dim: int
    noise_dim: int
    condition_dim: int  # of the conditioning augmentation
    residual_blocks: int
    max_words: int
    batch_size: int
    steps: int  # of a system's training
    ablation_steps: int  # of each ablation of a system
    matcher_steps: int  # of the DAMSM pre-training
    clip_steps: int  # of the contrastive training of the tiny CLIP
    itm_steps: int  # of the layers that ITM puts on a CLIP
    matcher_batch: int  # of all three
    train_images: int
    test_images: int
    evaluation_images: int
    learning_rate: float  # of the generator
    discriminator_rate: float
    lambda_damsm: float  # weight of the matching loss: AttnGAN's lambda, ALR-GAN's lambda_2
    ema: float
    says: str


PROFILES = {
    p.name: p
    for p in (
        Profile(
            name="smoke",
            resolutions=(8, 16, 32),
            ngf=20,
            ndf=12,
            text_dim=32,
            noise_dim=16,
            condition_dim=16,
            residual_blocks=1,
            max_words=18,
            batch_size=8,
            steps=12,
            ablation_steps=6,
            matcher_steps=20,
            clip_steps=20,
            itm_steps=20,
            matcher_batch=16,
            train_images=400,
            test_images=200,
            evaluation_images=128,
            learning_rate=1e-3,
            discriminator_rate=2e-4,
            lambda_damsm=0.5,
            ema=0.9,
            says="Tens of steps: it shows that everything runs. Its numbers mean nothing.",
        ),
        Profile(
            name="mini",
            resolutions=(8, 16, 32),
            ngf=24,
            ndf=16,
            text_dim=64,
            noise_dim=32,
            condition_dim=32,
            residual_blocks=1,
            max_words=18,
            batch_size=16,
            steps=350,
            ablation_steps=10,
            matcher_steps=500,
            clip_steps=200,
            itm_steps=150,
            matcher_batch=64,
            train_images=8000,
            test_images=1000,
            evaluation_images=800,
            learning_rate=1e-3,
            discriminator_rate=2e-3,
            lambda_damsm=0.5,
            ema=0.98,
            says="Every system really trained, from scratch, on a laptop.",
        ),
        Profile(
            name="small",
            resolutions=(16, 32, 64),
            ngf=48,
            ndf=48,
            text_dim=128,
            noise_dim=64,
            condition_dim=64,
            residual_blocks=2,
            max_words=18,
            batch_size=64,
            steps=20000,
            ablation_steps=20000,
            matcher_steps=4000,
            clip_steps=6000,
            itm_steps=3000,
            matcher_batch=128,
            train_images=20000,
            test_images=2000,
            evaluation_images=2000,
            learning_rate=4e-4,
            discriminator_rate=2e-4,
            lambda_damsm=1.0,
            ema=0.999,
            says="The reference run: one GPU, several seeds.",
        ),
        Profile(
            name="paper",
            resolutions=(64, 128, 256),
            ngf=32,
            ndf=64,
            text_dim=256,
            noise_dim=100,
            condition_dim=100,
            residual_blocks=2,
            max_words=18,
            batch_size=20,
            steps=265_650,  # 600 epochs of CUB's 8,855 training images at batch 20
            ablation_steps=265_650,
            matcher_steps=36_890,  # 200 epochs at batch 48
            clip_steps=1,  # the published one is read, not trained
            itm_steps=258_700,  # 150 epochs of COCO's 82,783 training images at batch 48
            matcher_batch=48,
            train_images=20000,
            test_images=2000,
            evaluation_images=30000,
            learning_rate=2e-4,
            discriminator_rate=2e-4,
            lambda_damsm=5.0,
            ema=0.999,
            says="The published constants, on real datasets.",
        ),
    )
}


RATES = ("learning_rate", "discriminator_rate")
# Variants that are trained as long as the system itself: claims rest on what they are in the end. Others are brief.
FULL_LENGTH = {
    "df-gan": ("clip",),
    "ratlip": ("no-attention", "as-published"),
    "stackgan": ("one-stage",),
    "sdn": ("no-distillation",),
}
# Where a system differs from the three-stage GANs (Adam with 0.5 and 0.999, the profile's rates and steps).
_HINGE = {
    "all": {"beta1": 0.0, "beta2": 0.9},
    "mini": {"steps": 400},  # they learn more slowly
    "small": {"learning_rate": 2e-4, "discriminator_rate": 4e-4},
    "paper": {"learning_rate": 1e-4, "discriminator_rate": 4e-4},
}
SETTINGS: dict[str, dict[str, dict[str, float]]] = {name: _HINGE for name in ("df-gan", "galip", "ratlip")}
SETTINGS["stackgan"] = {"mini": {"discriminator_rate": 1e-3}}  # two of them, and stage II lags behind


def settings(system: str, profile_name: str) -> dict[str, float]:
    """What of the optimiser and the steps is a system's own at a profile."""
    own = SETTINGS.get(system, {})
    return own.get("all", {}) | own.get(profile_name, {})


def default_steps(system: str, variant: str, p: Profile) -> int:
    """How long a profile trains a system, or (more briefly, at mini) one of its ablations."""
    whole = variant == "default" or variant in FULL_LENGTH.get(system, ())
    name = "steps" if whole else "ablation_steps"
    return int(settings(system, p.name).get(name, getattr(p, name)))


def profile(name: str) -> Profile:
    """Look a profile up by name; an unknown name raises a :class:`UserError` with the nearest one."""
    return PROFILES[nearest(name, PROFILES, "profile")]


@dataclass(frozen=True)
class RunConfig:
    """One training run. ``None`` means: what the profile says; :meth:`resolve` fills it in, that is what is saved."""

    system: str = "alr-gan"
    variant: str = "default"
    world: str = "toy-scenes"
    data: str | None = None  # a prepared dataset's folder; default: the data root's folder of the world
    profile: str = "mini"
    seed: int = 0
    steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None  # of the generator
    discriminator_rate: float | None = None
    beta1: float | None = None
    beta2: float | None = None
    ema: float | None = None
    cooldown: float = 0.0  # the share of the steps, at the end, over which both rates fall linearly to 0
    matcher: str | None = None  # a pre-trained DAMSM's folder; default: trained as the run's first step
    log_every: int = 10
    sample_every: int | None = None
    checkpoint_every: int | None = None
    precision: str = "auto"  # "auto": bf16 autocast on a GPU, float32 on a CPU; "fp32"; "bf16"
    switches: dict = field(default_factory=dict)  # overrides of the system's own configuration

    def __post_init__(self):
        nearest(self.profile, PROFILES, "profile")
        nearest(self.precision, ("auto", "fp32", "bf16"), "precision")
        for name in ("steps", "batch_size", "log_every", "sample_every", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1, not {value}")
        if self.seed < 0:
            raise UserError(f"seed {self.seed} is negative: choose 0 or more")
        for name in ("learning_rate", "discriminator_rate"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name} must be greater than 0, not {value}")
        if not 0 <= self.cooldown <= 1:
            raise UserError(f"cooldown {self.cooldown} is a share of the steps: choose a number from 0 to 1")
        if self.batch_size == 1:
            raise UserError("batch_size must be at least 2: batch normalisation and the matching losses need a batch")

    def resolve(self) -> RunConfig:
        """Fill every ``None`` from the profile; the data folder becomes the data root's folder of the world."""
        p = profile(self.profile)
        own = settings(self.system, self.profile)
        rates = {name: getattr(self, name) or own.get(name, getattr(p, name)) for name in RATES}
        steps = self.steps or default_steps(self.system, self.variant, p)
        brief = steps <= p.ablation_steps < p.steps  # looked at when it is done: a grid costs as much as some steps
        return dataclasses.replace(
            self,
            data=self.data or str(data_root() / default_folder(self.world, p)),
            steps=steps,
            batch_size=self.batch_size or p.batch_size,
            **rates,
            beta1=own.get("beta1", 0.5) if self.beta1 is None else self.beta1,
            beta2=own.get("beta2", 0.999) if self.beta2 is None else self.beta2,
            ema=own.get("ema", p.ema) if self.ema is None else self.ema,
            sample_every=self.sample_every or (steps if brief else max(1, steps // 4)),
            checkpoint_every=self.checkpoint_every or max(1, min(2000, steps // 2)),
        )

    @classmethod
    def from_dict(cls, values: dict) -> RunConfig:
        """Build from saved JSON; an unknown key raises, naming the nearest known one."""
        known = [f.name for f in dataclasses.fields(cls)]
        for key in values:
            nearest(key, known, "run setting")
        return cls(**values)

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def project_root() -> Path:
    """The checkout that the working folder lies in (a notebook works in notebooks/), else the working folder itself."""
    here = Path.cwd()
    return next((f for f in (here, *here.parents) if (f / "t2i_core").is_dir() and (f / "notebooks").is_dir()), here)


def published_file(variable: str, name: str, what: str, otherwise: str = "") -> Path:
    """The file that $``variable`` names, which torchvision publishes as ``name``; a UserError where there is none."""
    path = Path(os.environ.get(variable) or name)
    if not path.is_file():
        raise UserError(
            f"{what}, and {path} is no file: let {variable} name the {name} that torchvision publishes{otherwise}"
        )
    return path


def data_root() -> Path:
    """Where prepared datasets live: ``$T2I_DATA``, or ``data/`` in the project's folder."""
    return Path(os.environ.get("T2I_DATA") or project_root() / "data")


def default_folder(world: str, p: Profile) -> str:
    """The folder's name holds what decides its content, so that profiles never overwrite each other's data."""
    if world.startswith("toy-"):
        return f"{world}-{p.resolutions[-1]}px-{p.train_images}"
    return world

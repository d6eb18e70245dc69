"""`t2i evaluate`: measure a trained system, or a folder of images with captions that any program made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from t2i_core.cli_prepare import Whole, shown
from t2i_core.config import UserError
from t2i_core.doctor import why_not_writable


def evaluate(
    run: Annotated[str | None, shown("none", "DIR")] = None,
    folder: Annotated[str | None, shown("none", "DIR")] = None,
    data: Annotated[str | None, shown("none", "DIR")] = None,
    metrics: Annotated[tuple[str, ...], shown("all", "NAME ...")] = (),
    world: Annotated[str | None, shown("the prepared dataset's name", "NAME")] = None,
    out: Annotated[str | None, shown("metrics.json among the images", "FILE")] = None,
    images: Whole = None,
    device: str = "auto",
) -> int:
    """Measure a trained system (--run), or images with captions that any program made (--folder and --data).

    Every number has an interval and its protocol, and is compared with the test split's real images.

    Args:
        run: The run folder of the trained system; the numbers are kept there in metrics.json.
        folder: A folder of images; a metadata.jsonl in it or a .txt beside each has the captions they were drawn for.
        data: With --folder: the prepared dataset whose test images are the real ones.
        metrics: Only these: fid, kid, inception_score, r_precision, retrieval, clip_score, cmd, precision_recall; of a
            run also soa, attributes, binding, layout, which ask for the truth about each image, and cost.
        world: With --folder: whose feature network and scorer look at the images.
        out: With --folder: the file for the numbers.
        images: With --run: how many images are drawn.
        device: auto (a GPU where there is one), cpu or cuda.
    """
    if (run is None) == (folder is None):
        raise UserError("give --run with a trained system's folder, or --folder with images and --data: one of the two")
    foreign = {"images": images} if folder else {"data": data, "world": world, "out": out}
    for name, value in foreign.items():
        if value is not None:
            raise UserError(f"--{name} does not go with --{'folder' if folder else 'run'}: leave it out")
    if images is not None and images < 1:
        raise UserError(f"--images {images}: it starts at 1")
    found, where = _folder(folder, data, metrics, world, out, device) if folder else _run(run, metrics, images, device)
    for name, value in found.items():
        at, low, high = (_number(value[part]) for part in ("value", "low", "high"))
        print(f"{name:24} {at:>12}   {low} to {high}   n = {value['n']}")
    if run and "seconds_per_image" in found:
        print(_training_cost(run))
    print(f"with their protocols in {where}")
    return 0


def _number(value: float) -> str:
    """Four decimals, and more where a time of milliseconds would lose its digits."""
    return f"{value:.4f}" if abs(value) >= 0.01 or not value else f"{value:.6f}"


def _training_cost(run: str) -> str:
    """What the run's summary says of its size and its training, beside what drawing costs."""
    from t2i_core.runs import Run

    summary = Run(run).summary
    sizes = ", ".join(f"{part} {count:,}" for part, count in summary["parameters"].items())
    return f"parameters: {sizes}; trained for {summary['train_seconds']:.1f} s on {summary['device']}"


def _run(run: str, metrics: tuple[str, ...], images: int | None, device: str) -> tuple[dict[str, Any], Path]:
    from t2i_core.runs import Run

    opened = Run(run)
    opened.config  # noqa: B018  (a folder that holds no run is refused before anything heavy is loaded)
    from t2i_core.metrics.evaluate import evaluate_run

    return evaluate_run(opened, metrics or None, images, device=device), opened.folder / "metrics.json"


def _folder(
    folder: str, data: str | None, metrics: tuple[str, ...], world: str | None, out: str | None, device: str
) -> tuple[dict[str, Any], Path]:
    from t2i_core.picture_folder import existing

    if data is None:
        raise UserError("--folder needs --data, the prepared dataset with the real images (`t2i prepare` makes one)")
    where = Path(out) if out else existing(folder) / "metrics.json"
    if reason := why_not_writable(where.parent):
        raise UserError(f"cannot write to {where.parent}: {reason}; choose another file with --out")
    from t2i_core.metrics.evaluate import evaluate_folder

    return evaluate_folder(folder, data, metrics or None, world, where, device=device), where

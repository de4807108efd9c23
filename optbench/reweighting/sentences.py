"""What was done, as data and in five lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from optbench.commands.tables import duration
from optbench.reweighting.choice import Choice, Settings, epochs_of, lengths_of, training_flops
from optbench.reweighting.lines import OwnFile
from optbench.reweighting.proxies import Proxy

LAYOUTS = {"question": "question and solution", "completion": "prompt and completion", "messages": "conversations"}
LISTED = 6
"""Sources that a line names; the rest are counted."""
MOVED = 0.02
"""By which share of the mean loss the losses have to move between the first look and the last, up or down, on average;
below it a line says so, for what is learned late is then told apart by what was hard from the start."""

ROSE = 1.2
"""By which factor the mean loss has to rise for a line to say that nothing was learned. A little it does where a small
file is learned by heart."""


def report_of(file: OwnFile, settings: Settings, choice: Choice, target: Proxy) -> dict[str, Any]:
    """What was found and what it cost, as JSON data; `target` is the model with whose training that is compared."""
    proxy = settings.proxy
    sources = np.asarray(file.sources)
    lengths, _ = lengths_of(file, proxy)
    training = training_flops(file, target, settings)
    return {
        "file": file.path,
        "layout": file.own.layout,
        "examples": len(sources),
        "examples_in_file": file.total,
        "at_max_length_share": float((lengths >= proxy.max_length).mean()),
        "model": {"name": proxy.name, "parameters": proxy.spec.dimensions().matrix_parameters},
        "settings": {
            "epochs": settings.epochs,
            "batch_size": settings.batch_size,
            "lr": settings.lr,
            "max_length": proxy.max_length,
            "factor": settings.factor,
            "seed": settings.seed,
            "trajectory": settings.select.trajectory,
            "clusters": settings.select.clusters,
            "scope": settings.select.scope,
            "min_source": settings.select.min_source,
        },
        "probe": choice.probe.key,
        "mean_loss": {
            "looks": choice.probe.losses.mean(axis=0).tolist(),
            "moved": float(np.abs(choice.probe.losses[:, -1] - choice.probe.losses[:, 0]).mean()),
            "later_learned_at_end": float(choice.probe.losses[choice.later, -1].mean()),
            "others_at_end": float(choice.probe.losses[~choice.later, -1].mean()),
        },
        "later_learned": int(choice.later.sum()),
        "later_learned_by_source": {
            str(name): {
                "examples": int((sources == name).sum()),
                "later_learned": int(choice.later[sources == name].sum()),
            }
            for name in np.unique(sources)
        },
        "later_learned_lines": [file.own.lines[row].number for row in np.flatnonzero(choice.later).tolist()],
        "control_overlap": int((choice.control & choice.later).sum()),
        "price": {
            "probe_seconds": choice.probe.seconds,
            "probe_flops": choice.probe.flops,
            "rewrite_seconds": choice.rewrite_seconds,
            "kept": choice.was_kept,
            "training": target.name,
            "share_of_training": choice.probe.flops / training,
        },
    }


def five_lines(content: Mapping[str, Any]) -> str:
    """What was done: what was judged, what was found, what was written, what it cost, what to compare with."""
    return "\n".join([_judged(content), _found(content), _written(content), _price(content), _compare(content)])


def _judged(content: Mapping[str, Any]) -> str:
    count, total, model, how = content["examples"], content["examples_in_file"], content["model"], content["settings"]
    part = f"the first {count:,} of {total:,}" if count < total else f"{count:,}"
    cut = content["at_max_length_share"]
    long = f"; {cut:.0%} of them reach --max-length ({how['max_length']} tokens) and are read no further" if cut else ""
    return (
        f"{content['file']}: {part} examples ({LAYOUTS[content['layout']]}), judged by their loss while "
        f"{model['name']} ({_count(model['parameters'])} parameters) learns them for {epochs_of(how['epochs'])}{long}"
        f"{_learned(**content['mean_loss'])}."
    )


def _learned(looks: Sequence[float], moved: float, **_: float) -> str:
    """Whether the probe learned, where it looked more than once."""
    if len(looks) < 2:
        return ""
    fell = f"; their mean loss is {looks[0]:.3g} after the first and {looks[-1]:.3g} after the last"
    if looks[-1] > ROSE * looks[0]:
        return f"{fell}: it rose, so that they tell nothing; lower --lr"
    if moved >= MOVED * looks[0]:
        return fell
    return f"{fell}, and each hardly moved in between: raise --epochs or --lr"


def _found(content: Mapping[str, Any]) -> str:
    found, count, by_source = content["later_learned"], content["examples"], content["later_learned_by_source"]
    loss = content["mean_loss"]
    text = (
        f"later-learned: {found:,} of {count:,} ({found / count:.0%}), with a loss of "
        f"{loss['later_learned_at_end']:.3g} at the end against {loss['others_at_end']:.3g}"
    )
    if len(by_source) < 2:
        return f"{text}; no sources are told apart (--source FIELD)."
    ranked = sorted(by_source.items(), key=lambda item: (-item[1]["later_learned"] / item[1]["examples"], item[0]))
    named = [f"{shown(name)} {n['later_learned']:,} of {n['examples']:,}" for name, n in ranked[:LISTED]]
    rest = [n["later_learned"] for _, n in ranked[LISTED:]]
    return f"{text}: {', '.join(named)}{f', {sum(rest):,} in {len(rest)} other sources' if rest else ''}."


def _written(content: Mapping[str, Any]) -> str:
    out, factor, found = content["written"], content["settings"]["factor"], content["later_learned"]
    start = f"{out['path']}: {out['lines']:,} lines, {_bytes(out['bytes'])}"
    order = "in an order drawn anew" if out["shuffled"] else "in the order of the file"
    if out["how"] == "weights":
        return f"{start}; the field weight is {factor} in those {found:,} and 1 in all others, {order}."
    start += f" from {content['examples']:,}"
    if out["how"] == "repeated":
        return f"{start}; those {found:,} stand there {factor} times, all others once, {order}."
    again = f"; for {out['repeated']:,} none was right, and their own is repeated" if out["repeated"] else ""
    return f"{start}; {out['new']:,} solutions are new, and right by the known answer{again}; {order}."


def _price(content: Mapping[str, Any]) -> str:
    price, epochs = content["price"], content["settings"]["epochs"]
    seconds = price["probe_seconds"] + price["rewrite_seconds"]
    parts = f", of them {duration(price['rewrite_seconds'])} for new solutions" if price["rewrite_seconds"] else ""
    kept = " (paid before: the probe was kept)" if price["kept"] else ""
    return (
        f"price: {duration(seconds)}{parts} and {price['probe_flops'] / 1e12:.3g} TFLOPs{kept}; the probe is "
        f"{_share(price['share_of_training'])} of training {price['training']} on the file for {epochs_of(epochs)}."
    )


def _compare(content: Mapping[str, Any]) -> str:
    control, found = content["control"], content["later_learned"]
    each = " of each source" if content["settings"]["scope"] == "source" else ""
    same = content["control_overlap"]
    alike = ", most of them, so that it tells little" if 3 * same > 2 * found else ""
    return (
        f"compare with {control['path']}: the same for as many{each} at random ({same:,} of the {found:,} are among "
        f"them{alike}); what it gains as well comes from more training, not from the choice."
    )


def shown(name: str) -> str:
    """Text from data as a line may hold it: short, and without what a terminal would obey."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    return safe if len(safe) <= 40 else f"{safe[:40]}..."


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.2%}" if share >= 1e-4 else "less than 0.01%"


def _count(parameters: float) -> str:
    return f"{parameters / 1e9:.2f}B" if parameters >= 1e9 else f"{parameters / 1e6:.2f}M"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"

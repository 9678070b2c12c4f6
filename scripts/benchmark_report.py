"""The table and the picture of scripts/benchmark.py."""

from typing import Any

from matplotlib.figure import Figure

HEADER = (
    "| recipe | variant | precision | critic update, ms | x | step, ms | x | steps/s | images/s | waiting for data "
    "| GFLOP | of matrix rate | peak MiB | GPU busy |\n|" + "---|" * 14
)


def table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for r in rows:
        spread = {k: "{1:.4g} ({0:.4g} to {2:.4g})".format(*r[k]) for k in ("critic_ms", "step_ms")}
        busy = "no GPU" if r["busy_share"] is None else f"{r['busy_share']:.0%}"
        lines.append(
            f"| {r['recipe']} | {r['variant']} | {r['precision']} | {spread['critic_ms']} | {r['critic_speedup']:.2f} "
            f"| {spread['step_ms']} | {r['step_speedup']:.2f} | {r['steps_per_second']:.3g} "
            f"| {r['images_per_second']:.0f} | {r['data_wait_share']:.1%} | {r['critic_gflop']:.3g} "
            f"| {r['matrix_rate_share']:.0%} | {r['peak_memory_mib']:.0f} | {busy} |"
        )
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], path: str) -> None:
    """Bars of the speed of a critic update against the textbook's."""
    recipes = list(dict.fromkeys(r["recipe"] for r in rows))
    variants = list(dict.fromkeys((r["variant"], r["precision"]) for r in rows))
    axes = (figure := Figure((8, 3.5), layout="constrained")).subplots()
    for i, variant in enumerate(variants):
        mine = {r["recipe"]: r["critic_speedup"] for r in rows if (r["variant"], r["precision"]) == variant}
        places = [recipes.index(recipe) + (i - (len(variants) - 1) / 2) * 0.8 / len(variants) for recipe in mine]
        bars = axes.bar(places, list(mine.values()), 0.8 / len(variants), label=", ".join(variant))
        axes.bar_label(bars, fmt="%.2f", fontsize=7)
    axes.set_xticks(range(len(recipes)), recipes)
    axes.set_ylabel("critic updates a second,\ntimes the textbook's")
    figure.legend(loc="outside upper center", ncols=len(variants), fontsize=8)
    figure.savefig(path, dpi=120)

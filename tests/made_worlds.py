"""Made results: a world in which the thesis is right, and studies of a few answers.

A world is a set of quantities. Its scores are those of the world with a known error; nothing is
evaluated.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from lowrank.base.files import read_json, read_yaml
from lowrank.base.metric import Metric
from lowrank.base.names import LARGEST_BATCH
from lowrank.base.statistics import AVERAGES
from lowrank.claims.evidence import Evidence
from lowrank.claims.ledger import judge_claims
from lowrank.claims.scopes import Scope
from lowrank.claims.studies import AnsweredStudy, Study
from lowrank.project.configuration import Project
from lowrank.project.views.claims import judged_models
from made_evaluations import write_scores

ROOT = Path(__file__).parents[1]
CONFIG = read_yaml(ROOT / "config" / "config.yaml")
PROJECT = Project(CONFIG | {"models": ["llama-2-7b", "bert-base-squad"]}, ROOT / "config")
CLAIMS = PROJECT.registry.claims()
FIVE = ["arc_easy", "arc_challenge", "hellaswag", "winogrande", "mmlu"]
CHANCE = {**dict.fromkeys(FIVE, 0.25), "winogrande": 0.5, "truthfulqa": 0.3}
WORKLOADS = ["ARC-Easy", "MMLU", "WinoGrande"]
A100 = "NVIDIA A100-SXM4-80GB"
NONE = {"model": "", "label": "", "device": "", "device_type": ""}
OTHER_MODELS = {"C13": "starcoder-16b", "C14": "llama-7b"}
"""The models of the claims that do not speak of Llama-2-7B."""

RIGHT = {
    "exponent": 0,  # of the design space, beyond the thesis's
    "slope": 0.6,  # points lost for each percent of parameters, up to 48%
    "slope_beyond": 0.1,  # and beyond
    "winogrande": 0.75,  # its share of that
    "rank_250": 0.2,  # points between pruned ranks
    "rank_500": 0.5,
    **{f"{tensor}_{layers}": 0.0 for tensor in "QKVGUD" for layers in ("one", "all")},
    **{"SO_one": 0.0, "SO_all": 0.0},  # points that a tensor loses beyond its group
    "int_one": 10.0,
    "int_all": 10.0,
    "few_8": 3.0,
    "few_21": 8.0,
    "q_in_all": 52.0,
    "others_in_all": 52.0,
    "bert_few_sixth": 3.0,
    "bert_few_third": 3.0,
    "first": 10.0,
    "second": 10.0,
    "last": 10.0,
    "bert_first": 10.0,
    "bert_last": 10.0,
    **{f"distance_{name}": 2.0 for name in FIVE},  # points gained for each layer of distance
    "distance_truthfulqa": 0.0,
    "truthfulqa_6": 6.0,
    "truthfulqa_96": 3.0,
    "latency": 0.5,
    "energy": 0.5,
    "memory": 0.4,
    "power": 0.0,
    "latency_at_9": 0.0,  # percent that it falls by at 9%, beside the line
    "energy_at_9": 0.0,
    "latency_spread": 0.01,  # of the slopes of workloads
    "energy_spread": 0.01,
    "latency_uneven": 0.0,  # percent by which every other configuration is off
    "energy_uneven": 0.0,
    "fine_tuned": 5.4,
    "perplexity": 0.5,
    "few_bits": 0.3,  # percent of perplexity that they add to that of LoRD
    "lord_latency": 22.35,
    "lord_seconds": 400.0,
    "qlora_memory": 21.2,
    "human_eval": 0.0,
    **{"rom_80": 5.3, "rom_50": 20.0},  # points lost, by budget
    **{"pruning_80": 10.0, "pruning_50": 25.0},
    "floor": 0.0,  # 1: all that is decomposed scores at chance, where there is one
    "noise": 1e-5,  # standard error of a score
    "unrest": 1e-4,  # relative standard error of a measurement
}
"""The quantities of a world in which every claim holds."""

COSTS = ("latency", "energy", "memory", "power")


class MadeStudy(Study):
    """A study whose scores have a known error, the same for each and independent."""

    def __init__(self, path, noise, exhaustive=False, resamples=1000):
        super().__init__(path)
        self.noise, self.exhaustive, self.resamples = noise, exhaustive, resamples

    def _contrasts(self, weights_CS, benchmark):
        mean_C, means_RC = self._scores(benchmark)
        return mean_C[None] @ weights_CS, means_RC @ weights_CS

    def log_contrasts(self, weights_CS, benchmark):
        mean_C, means_RC = self._scores(benchmark)
        contrasts = (np.log(values) @ weights_CS for values in (mean_C[None], means_RC))
        return type(self.contrasts(weights_CS, [benchmark]))(*contrasts, self.exhaustive)

    def _is_exhaustive(self, chosen, benchmarks):
        return self.exhaustive

    def _scores(self, benchmark):
        mean_C = self.table.loc[self.table["benchmark"] == benchmark, "score"].to_numpy(float)
        rng = np.random.default_rng(zlib.crc32(benchmark.encode()))
        errors_RC = self.noise * rng.standard_normal((self.resamples, len(mean_C)))
        return mean_C, mean_C + errors_RC


def points_lost(world, study, row, benchmark):
    """Percentage points that a configuration loses to the dense model in a world."""
    label, series = row["label"], row["series"]
    percent = float(label[:-1]) if label.endswith("%") else 0.0
    if study in ("table_4_2", "figure_3_2", "fine_tuning"):
        if study == "fine_tuning" and series != "no tuning":
            return world["fine_tuned"]
        if benchmark == "truthfulqa":
            rise = (percent - 6) / 90
            return (1 - rise) * world["truthfulqa_6"] + rise * world["truthfulqa_96"]
        lost = world["slope"] * min(percent, 48) + world["slope_beyond"] * max(percent - 48, 0)
        share = world["winogrande"] if benchmark == "winogrande" else 1.0
        return share * lost - world.get(series.replace(" ", "_"), 0.0)
    layers = "all" if series == "all layers" else "one"
    if study == "figure_3_4":
        lost = (5.0 if label in ("Q", "K", "V", "SO") else 6.0) * (4 if layers == "all" else 1)
        return lost + world.get(f"{label}_{layers}", 0.0)
    if study == "bert_figure_3_4":
        return world[f"int_{layers}"] if label == "Int" else 5.0
    if study == "figure_3_5":
        if label.startswith("all"):
            return world["few_8" if series == "about 8%" else "few_21"]
        return world["q_in_all" if label.startswith("Q") else "others_in_all"]
    if study == "bert_figure_3_5":
        part = "sixth" if "sixth" in series else "third"
        return world[f"bert_few_{part}"] if label.startswith("all") else 20.0
    if study == "figure_3_6":
        return {"1": world["first"], "2": world["second"], "32": world["last"]}.get(label, 3.0)
    if study == "bert_figure_3_6":
        ends = {"1": "bert_first", "2": "bert_first", "11": "bert_last", "12": "bert_last"}
        return world[ends[label]] if label in ends else 3.0
    if study == "figure_3_7":
        return 20.0 - world[f"distance_{benchmark}"] * row["position"]
    if study == "rom_budgets":
        return world.get(f"{'pruning' if series == 'Wanda' else 'rom'}_{label[:-1]}", 0.0)
    return world["human_eval"]  # LoRD's ranks: the perplexity is made apart


def made_rows(study, kind):
    """The configurations of a study."""
    model = judged_models(PROJECT)[kind]
    made = [
        (
            row.series,
            row.label,
            row.position,
            row.decomposition.parameter_reduction(model.architecture),
        )
        for row in PROJECT.configurations(study, model)
    ]
    names = ("series", "label", "position", "parameter_reduction_percent")
    dense = {"series": "", "label": "dense", "position": None, "decomposition": "dense"}
    rows = [dense | {"parameter_reduction_percent": 0.0}]
    for index, values in enumerate(made):
        # Named by place, since two series may hold one configuration.
        rows.append(dict(zip(names, values, strict=True)) | {"decomposition": f"{study}-{index}"})
    return rows


def lord_at_its_cut():
    """The name of the configuration that LoRD's claims speak of."""
    rows = made_rows("lord_ranks", "llama")
    (row,) = (r for r in rows if (r["series"], r["label"]) == ("all tensors", "39.58%"))
    return row["decomposition"]


def made_table(world, study, kind, benchmarks, questions=1000):
    """The rows of a study's table in a world."""
    table = []
    for place, row in enumerate(made_rows(study, kind)):
        is_dense = row["label"] == "dense"
        for benchmark in benchmarks:
            lost = 0.0 if is_dense else points_lost(world, study, row, benchmark)
            metric = Metric.from_config("acc", CHANCE.get(benchmark))
            score = (85.0 - lost) / 100
            if world["floor"] and not is_dense and benchmark in FIVE:
                score = CHANCE[benchmark] + 1e-4 * (place % 3 - 1)  # guesses differ, too
            if benchmark == "perplexity_prose":
                metric = Metric.from_config("token_perplexity")
                score = 12.0 * (1 if is_dense else 1 + world["perplexity"] / 100)
                score *= 1 + world["few_bits"] / 100 * ("SpQR" in row["series"])
            own = {"benchmark": benchmark, "score": score}
            counts = dict.fromkeys(("questions", "questions_available"), questions)
            table.append(row | metric.as_record() | own | counts)
    return pd.DataFrame(table)


def made_profiles(world, path, device=A100, gpus=4):
    """Write the profiles of Table 4.2's configurations, or for LoRD's claims of LoRD's."""
    rows = []
    shared = {"doubts": "", "device": device, "gpus": gpus, "rounds": 7, "phase": "prefill"}
    shared |= {"batch_rule": LARGEST_BATCH if gpus else "fixed"}

    def add(metric, workload, decomposition, x, ratio, value=1.0):
        ends = (ratio * np.exp(sign * 2.45 * world["unrest"]) for sign in (-1, 1))
        own = dict(zip(("ratio_low", "ratio_high"), ends, strict=True))
        own |= {"metric": metric, "workload": workload, "decomposition": decomposition}
        own |= {"parameter_reduction_percent": x, "ratio": ratio, "value": value}
        rows.append(shared | own)

    rng = np.random.default_rng(0)
    for place, row in enumerate(made_rows("table_4_2", "llama")):
        x = row["parameter_reduction_percent"]
        if row["series"]:
            continue  # the control is not profiled
        for metric in COSTS:
            for index, workload in enumerate(WORKLOADS):
                slope = world[metric] + world.get(f"{metric}_spread", 0.01) * (index - 1)
                off = world.get(f"{metric}_uneven", 0.0) * (place % 2)
                off += world.get(f"{metric}_at_9", 0.0) * (row["label"] == "9%")
                ratio = (1 - (slope * x + off) / 100) * np.exp(rng.normal(0, world["unrest"]))
                add(metric, workload, row["decomposition"], x, ratio)
    lord = lord_at_its_cut()
    for index, workload in enumerate(WORKLOADS):
        for metric, key in (("latency", "lord_latency"), ("fine-tuning memory", "qlora_memory")):
            add(metric, workload, lord, 20.0, 1 - (world[key] + 0.1 * (index - 1)) / 100)
        seconds = world["lord_seconds"] + index
        add("compression time", workload, lord, 20.0, 1.0, seconds)
    path.parent.mkdir(exist_ok=True, parents=True)
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def made_design_space(world, folder):
    names = ["bert-base-uncased", "bert-large-uncased", "llama-2-7b", "llama-2-70b"]
    table = pd.DataFrame({"model": names, "thesis_scale_exponent": 37})
    table["scale_exponent"] = 37 + world["exponent"]
    table.to_csv(folder / "table_3_1.csv", index=False)
    return Evidence(design_space=folder / "table_3_1.csv")


def asked_by(claim, kind):
    """From each study that a claim's tests of a kind ask for to its benchmarks."""
    asked = {}
    for test in claim["tests"]:
        arguments = test["arguments"]
        if test["kind"] == kind and "study" in arguments:
            names = arguments.get("benchmarks") or [arguments.get("benchmark", "arc_easy")]
            names = [*names, *(o for o in arguments.get("others", []) if isinstance(o, str))]
            asked.setdefault(arguments["study"], {}).update(dict.fromkeys(names))
    return asked


def made_evidence(claim, folder, *, exhaustive=False, device=A100, gpus=4, **changes):
    """The results of a world, as far as the tests of a claim ask for them."""
    assert set(changes) <= set(RIGHT)
    world = RIGHT | changes
    made = {"none": made_design_space(world, folder)}
    for kind in ("llama", "bert"):
        studies = {}
        for study, benchmarks in asked_by(claim, kind).items():
            path = folder / kind / "studies" / f"{study}.csv"
            path.parent.mkdir(exist_ok=True, parents=True)
            made_table(world, study, kind, benchmarks).to_csv(path, index=False)
            studies[study] = MadeStudy(path, world["noise"], exhaustive)
        made[kind] = Evidence(studies, benchmark_workloads=WORKLOADS)
    if any("metric" in test["arguments"] for test in claim["tests"]):
        path = folder / "llama" / "studies" / "table_4_2.profiles.csv"
        made["llama"].profiles = made_profiles(world, path, device, gpus)
        table = pd.read_csv(path)
        # LoRD's costs are no point of the thesis's lines: another configuration of another model.
        is_lord = table["decomposition"] == lord_at_its_cut()
        table[is_lord == ("lord_ranks" in made["llama"].studies)].to_csv(path, index=False)
    return made


def made_answers(claim, folder, questions=30, spread=1e-4, **changes):
    """The same as answers in files, all questions of their test sets: Llama's studies alone.

    Their scores are no shares, of which so few questions would leave much open.
    """
    world, rng = RIGHT | changes, np.random.default_rng(0)
    studies = {}
    for study, benchmarks in asked_by(claim, "llama").items():
        table = made_table(world, study, "llama", benchmarks, questions).assign(unit="")
        for _, row in table.iterrows():
            noise = rng.normal(0, spread, questions)
            values = row["score"] + noise - noise.mean()
            frame = {"task": "t", "question": range(questions), "value": values, "weight": 1}
            write_scores(folder / "evaluations", row["decomposition"], row["benchmark"], frame)
        path = folder / "studies" / f"{study}.csv"
        path.parent.mkdir(exist_ok=True)
        table.to_csv(path, index=False)
        studies[study] = AnsweredStudy(path, folder / "evaluations")
    return {"llama": Evidence(studies)}


def subjects_of(name, **changes):
    """What the results are of: the models and the device that a claim speaks of."""
    shared = {"device": A100, "device_type": "cuda"}
    llama = {"model": OTHER_MODELS.get(name, "llama-2-7b"), "label": "Llama-2-7B"} | shared
    bert = {"model": "bert-base-squad", "label": "BERT-Base"} | shared
    return {"llama": llama | changes, "bert": bert | changes, "none": NONE}


def judgement_on(name, evidence, folder, subjects=None, claims=CLAIMS):
    """The ledger's judgement of one claim on one scope."""
    scope = Scope("run", "This run", evidence, subjects or subjects_of(name))
    return judgement(name, scope, folder, claims)


def judgement(name, scope, folder, claims=CLAIMS):
    """The same of a scope that is there."""
    judge_claims({name: claims[name]}, [scope], {}, folder / "claims.json")
    (row,) = read_json(folder / "claims.json")["claims"]
    return row["scopes"][scope.name]


def small_study(folder, answers, labels=None, chance=None, metric="acc", weights=1, available=None):
    """A study of one benchmark from {configuration: scores of its questions}."""
    metric = Metric.from_config(metric, chance)
    rows = []
    for index, (name, values) in enumerate(answers.items()):
        frame = {"task": "t", "question": range(len(values)), "value": values, "weight": weights}
        write_scores(folder / "evaluations", name, "quiz", frame)
        row = {"series": "", "label": name, "position": index, "decomposition": name}
        row |= labels[name] if labels else {}
        row |= {"parameter_reduction_percent": 10.0 * index, "benchmark": "quiz"}
        weights_Q = np.broadcast_to(weights, len(values))
        score = AVERAGES[metric.averaging].scores(np.array(values), weights_Q)
        row |= {"questions": len(values), "questions_available": available or 10**6}
        rows.append(row | metric.as_record() | {"score": score})
    (folder / "studies").mkdir(exist_ok=True)
    path = folder / "studies" / "small.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return Evidence({"small": AnsweredStudy(path, folder / "evaluations")})


def small_profiles(folder, ratios, reductions, **columns):
    """Profiles of {workload: ratio of the dense model and of each configuration} on a CPU."""
    rows = [
        {
            "decomposition": "dense" if x == 0 else f"c{x}",
            "parameter_reduction_percent": x,
            "metric": "latency",
            "workload": workload,
            "ratio": ratio,
            "ratio_low": ratio,
            "ratio_high": ratio,
            "rounds": 7,
            "doubts": "",
            "device": "Profiled CPU",
            "gpus": 0,
            "batch_rule": "fixed",
            "phase": "prefill",
        }
        | columns
        for workload, values in ratios.items()
        for x, ratio in zip(reductions, values, strict=True)
    ]
    pd.DataFrame(rows).to_csv(folder / "p.profiles.csv", index=False)
    return Evidence({}, folder / "p.profiles.csv", list(ratios))

"""What a script of the workflow is made of."""

from lowrank.running.imports import library_files


def test_a_script_is_made_of_what_it_imports_and_nothing_else():
    factorize = library_files("workflow", "workflow/scripts/factorize_layer.py")
    assert "workflow/lowrank/decompose/svd.py" in factorize
    assert "workflow/lowrank/assets/weights.py" in factorize
    assert "workflow/lowrank/evaluate/causal.py" not in factorize
    evaluate = library_files("workflow", "workflow/scripts/evaluate.py")
    assert "workflow/lowrank/evaluate/causal.py" in evaluate
    assert "workflow/lowrank/decompose/svd.py" not in evaluate


def test_what_is_imported_by_name_belongs_to_a_script_too():
    script = "workflow/scripts/evaluate_encoder.py"
    metrics = "workflow/lowrank/evaluate/metrics"
    plain = library_files("workflow", script)
    assert not [path for path in plain if path.startswith(metrics)]
    squad = library_files("workflow", script, "lowrank.evaluate.metrics.squad")
    assert set(squad) - set(plain) == {f"{metrics}/squad.py"}
    causal = library_files("workflow", "workflow/scripts/evaluate.py")
    assert not [path for path in causal if path.startswith(metrics)]


def test_a_figure_is_made_of_its_own_module_alone():
    script, figures = "workflow/scripts/accuracy_figure.py", "workflow/lowrank/figures"
    plain = library_files("workflow", script)
    assert plain == ("workflow/lowrank/base/cli.py", "workflow/lowrank/base/errors.py")
    figure = library_files("workflow", script, "lowrank.figures.figure_4_1")
    assert {f"{figures}/figure_4_1.py", f"{figures}/style.py"} <= set(figure)
    assert f"{figures}/figure_3_2.py" not in figure
    assert "workflow/lowrank/decompose/svd.py" not in figure


def test_a_module_that_is_not_there_is_a_missing_input():
    script = "workflow/scripts/accuracy_figure.py"
    missing = set(library_files("workflow", script, "lowrank.figures.figure_9_9"))
    assert missing - set(library_files("workflow", script)) == {
        "workflow/lowrank/figures/figure_9_9.py"
    }

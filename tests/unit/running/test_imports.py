"""What a script of the workflow is made of."""

from lowrank.running.imports import library_files


def test_a_script_is_made_of_what_it_imports_and_nothing_else():
    figure = library_files("workflow", "workflow/scripts/figure_4_1.py")
    assert "workflow/lowrank/figures/style.py" in figure
    assert "workflow/lowrank/decompose/svd.py" not in figure
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

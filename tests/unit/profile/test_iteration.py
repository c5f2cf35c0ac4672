"""What one iteration of a workload runs."""

import torch
from lowrank.profile.iteration import make_work
from lowrank.profile.workloads import Workload, make_prompt


def test_prefill_of_a_padded_row_is_that_row_alone(dense):
    workload = Workload("w", "prefill", (4, 9))
    prompt = make_prompt(workload, 260, 3)
    kept = {}

    def keep(module, inputs, output):
        kept["logits"] = output

    hook = dense.lm_head.register_forward_hook(keep)
    make_work(dense, workload, 3).run()
    hook.remove()
    with torch.no_grad():
        alone = dense(torch.from_numpy(prompt.ids_BT[:1, 5:])).logits[:, -1]
    torch.testing.assert_close(kept["logits"][:1, -1], alone, rtol=1e-4, atol=1e-4)
    assert kept["logits"].shape[1] == 1


def test_decode_starts_anew_each_time_and_holds_what_the_formula_says(dense):
    work = make_work(dense, Workload("w", "decode", (6, 6), 3), 3)
    lengths = []
    hook = dense.model.layers[0].self_attn.register_forward_hook(
        lambda module, arguments, keywords, output: lengths.append(
            keywords["past_key_values"].get_seq_length()
        ),
        with_kwargs=True,
    )
    work.run()
    work.run()
    hook.remove()
    assert lengths == [7, 8, 9, 7, 8, 9]
    # layers x (keys, values) x rows x heads x tokens x head size x bytes
    assert work.cache_bytes() == 4 * 2 * 2 * 2 * 9 * 8 * 4

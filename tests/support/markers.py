"""Which files of tests have which marker; a single test of another file has its own decorator."""

from __future__ import annotations

MARKED = {
    # A Triton server is started.
    "server": {
        "app/cli/test_demo_run.py",
        "serving/gateway/test_served_gateway.py",
        "serving/supervisor/test_restarts.py",
        "serving/test_abuse.py",
        "serving/test_clients_that_go.py",
        "serving/test_errors_on_the_wire.py",
        "serving/test_forked_launcher.py",
        "serving/test_odd_paths.py",
        "serving/test_served_encoder_decoders.py",
        "serving/test_served_encoders.py",
        "serving/test_server.py",
        "serving/test_several_models.py",
        "serving/test_soak.py",
        "serving/test_supervision.py",
    },
    # The result is compared with that of torch or transformers.
    "parity": {
        "app/cli/test_encode.py",
        "app/cli/test_text_tasks.py",
        "app/test_encoder_tasks.py",
        "app/test_minilm.py",
        "builder/architectures/decoder/test_embedder.py",
        "builder/architectures/encoder/test_encoder_parity.py",
        "builder/architectures/encoder_decoder/test_encoder_decoder_mutations.py",
        "builder/architectures/encoder_decoder/test_encoder_decoder_parity.py",
        "builder/architectures/decoder/test_soft_capped_parity.py",
        "builder/architectures/decoder/test_decoder_parity.py",
        "builder/architectures/decoder/test_decoder_spec.py",
        "builder/architectures/decoder/test_parity_notices.py",
        "builder/architectures/decoder/test_rotary_kinds.py",
        "builder/architectures/families/test_family_builds.py",
        "builder/architectures/families/test_family_notices.py",
        "builder/architectures/families/test_family_specs.py",
        "builder/architectures/families/test_needed_tensors.py",
        "builder/architectures/families/test_language_model_parts.py",
        "builder/architectures/test_config_sweep.py",
        "builder/architectures/test_matrices.py",
        "builder/architectures/test_one_fact_twice.py",
        "builder/checkpoint/huggingface/test_compressed_tensors_parity.py",
        "builder/checkpoint/huggingface/test_hub.py",
        "builder/checkpoint/pickled/test_pickled_checkpoint.py",
        "builder/compression/test_quantize_parity.py",
        "builder/distillation/test_distill.py",
        "builder/openvino/test_engine_file.py",
        "builder/openvino/test_smollm2_engine.py",
        "builder/tensorrt/test_trt_fp8_checkpoints.py",
        "builder/tensorrt/test_trt_in_flight.py",
        "builder/tensorrt/test_trt_mutations.py",
        "builder/tensorrt/test_trt_parity.py",
        "builder/tensorrt/test_trt_rank_mutations.py",
        "builder/tensorrt/test_trt_ranks.py",
        "builder/tensorrt/test_trt_smollm2.py",
        "parity_sweep/test_tokenizer_sweep.py",
        "serving/test_served_encoder_decoders.py",
        "serving/test_served_encoders.py",
        "serving/test_several_models.py",
    },
}

DOWNLOADED = {"smollm2_checkpoint", "smollm2_repository", "smollm2_plan", "minilm_checkpoint"}
"""Fixtures that download a checkpoint where the cache does not have it."""


def markers_of(path: str, fixtures: list[str]) -> list[str]:
    """Markers of a test in the file `path` (below tests/) that asks for `fixtures`."""
    markers = [marker for marker, paths in MARKED.items() if path in paths]
    return [*markers, "network"] if DOWNLOADED & set(fixtures) else markers

"""One module per stage: `run(config, inputs, output)` reads typed artefacts and writes one.

Modules are imported when their stage runs, so that nothing heavy is loaded for a stage that is done.
"""

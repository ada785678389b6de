"""Pipeline: one public function a stage, named as the command: ingest, train, assimilate, forecast, verify, twin, demo.

A stage takes a `Config`, says what it does through a `Progress`, and returns a frozen dataclass of plain fields that
the command line shows as a table or as JSON. Stages know each other only by what is on disk (`layout`); `build` is the
one place that turns the names of the configuration into objects.
"""

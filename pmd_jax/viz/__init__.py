"""Pictures and pages: arrays and JSON in, images and HTML out.

* `skeleton`: hands on crops, with Pillow alone. `charts`, `panels`: Matplotlib figures.
* `report`: the page of a run. `templates`: the one way in which pages and cards are rendered.
"""

"""Tables over several seeds: `python -m pmd_jax.study`, and the page of results.

* `definitions`: a study and what it runs. `paper_tables`, `label_efficiency`, `teacher_start`, `plus`: the studies
  there are.
* `cli`, `runner`, `jobs`: training them. `result_files`: their JSON. `layer_probe`: what a student takes over.
* `results_page`, `page_figures`, `page_labels`, `page_start`, `statistics`: RESULTS.md, from the JSON alone.
"""

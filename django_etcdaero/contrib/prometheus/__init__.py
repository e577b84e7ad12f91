"""Metrics for Prometheus.

Two kinds, which are right under any number of workers, in the multiprocess mode of prometheus-client too:

* What a process does is counted in ordinary counters and histograms of the default registry (:mod:`.process`,
  :mod:`.caches`). In multiprocess mode their files are added up by whoever exposes them.
* What is so in the cluster is read from the stores by whoever is scraped, at that moment (:mod:`.cluster`). All
  processes would say the same, so it does not matter which one answers.
"""

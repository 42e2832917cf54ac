"""From a manifest on disk to batches of aligned pairs: manifest, audio, views, sampler, dataset."""

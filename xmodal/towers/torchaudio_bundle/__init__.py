"""The speech encoders that torchaudio bundles: wav2vec 2.0, HuBERT, WavLM."""

"""Speech encoders of `transformers`: wav2vec 2.0 and its kin, Whisper's encoder, AST; CTranslate2's Whisper."""

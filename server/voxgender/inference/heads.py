"""List the architectures that can be loaded, by their names in ``config.json``."""

SPEECH_HEADS = ("Wav2Vec2ForSpeechClassification", "AgeGenderModel")
"""Two layers on the mean of wav2vec2's last hidden states, which transformers does not have: audEERING's age-and-gender
models, whose outputs are ``female``, ``male`` and ``child``, and the many that were trained with the same head."""

HEADS = (
    "ASTForAudioClassification",
    "Data2VecAudioForSequenceClassification",
    "HubertForSequenceClassification",
    "SEWDForSequenceClassification",
    "SEWForSequenceClassification",
    "UniSpeechForSequenceClassification",
    "UniSpeechSatForSequenceClassification",
    "Wav2Vec2BertForSequenceClassification",
    "Wav2Vec2ConformerForSequenceClassification",
    "Wav2Vec2ForSequenceClassification",
    "WavLMForSequenceClassification",
    "WhisperForAudioClassification",
)
"""The heads of ``transformers.AutoModelForAudioClassification``."""

SAMPLES = "Wav2Vec2FeatureExtractor"
"""The extractor of networks that take samples, normalised or as they are."""
EXTRACTORS = (SAMPLES, "ASTFeatureExtractor", "SeamlessM4TFeatureExtractor", "WhisperFeatureExtractor")
"""The extractors that may come before a network."""

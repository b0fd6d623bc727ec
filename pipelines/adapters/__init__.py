"""Search pipelines, rerankers and encoders as components of other frameworks: one module and one extra for each."""

"""Remote models: any chat model of LangChain as a `LanguageModel`."""

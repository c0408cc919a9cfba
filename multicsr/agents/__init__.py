"""The generator and judge agents: LangChain Runnables with Pydantic in and out."""

"""What the dataframes of one application share."""

from .context import ProcessingContext

__all__ = ("ProcessingContext",)

"""Types of window callbacks, at the path Quix Streams has them."""

from .definitions import WindowAfterUpdateCallback, WindowBeforeUpdateCallback, WindowOnLateCallback

__all__ = ("WindowAfterUpdateCallback", "WindowBeforeUpdateCallback", "WindowOnLateCallback")

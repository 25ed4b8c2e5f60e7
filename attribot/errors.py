"""The exceptions a caller may want to catch. All derive from `AttribotError`."""


class AttribotError(Exception):
    """Base of every error that attribot raises on purpose."""


class InvalidInputError(AttribotError, ValueError):
    """Something the caller passed cannot be used; the message says what was expected."""


class PromptTooLongError(AttribotError, ValueError):
    """Prompt plus response exceed the model's context window; nothing is ever truncated."""

    def __init__(self, num_tokens: int, max_tokens: int, model: str) -> None:
        super().__init__(
            f"prompt and response take {num_tokens} tokens, but {model} accepts at most "
            f"{max_tokens}: shorten the context, by fewer or shorter documents, or choose a model "
            f"with a longer window"
        )
        self.num_tokens = num_tokens
        self.max_tokens = max_tokens


class NonFiniteLogitsError(AttribotError, ArithmeticError):
    """The model produced NaN or infinite log-likelihoods."""


class ParityError(AttribotError, ArithmeticError):
    """Fast scoring does not agree with naive scoring."""


class ModelNotFoundError(AttribotError, FileNotFoundError):
    """A model directory, file or hub id that cannot be loaded."""


class MissingExtraError(AttribotError, ImportError):
    """An optional package is not installed."""


class RecordsError(AttribotError, OSError):
    """Records cannot be read or written; what was written before stays intact."""


class EmptyResponseError(InvalidInputError):
    """The model answered with nothing but its end-of-turn token."""


class AttributionCancelledError(AttribotError):
    """The caller asked to stop; what was scored before is in the score cache, if there is one."""

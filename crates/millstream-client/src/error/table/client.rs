//! The client's own codes.

use super::{Row, rows};

/// By code, ascending.
pub(super) const ROWS: &[Row] = rows! {
    -199 _BAD_MSG Refused "a response or a batch could not be read"
    -195 _TRANSPORT Refresh "the connection to the broker has ended"
    -192 _MSG_TIMED_OUT Abort
        "the record was not delivered within message.timeout.ms"
    -190 _UNKNOWN_PARTITION Refused "the topic has no such partition"
    -188 _UNKNOWN_TOPIC Refused
        "the topic does not exist; create it, or check its name and the rights on it"
    -187 _ALL_BROKERS_DOWN Retry
        "no broker can be reached; check bootstrap.servers, the network and that the brokers run"
    -186 _INVALID_ARG Refused "a setting or an argument is not valid"
    -185 _TIMED_OUT Refresh "no answer in time"
    -184 _QUEUE_FULL Retry
        "the producer's queue is full; wait for deliveries, or raise queue.buffering.max.kbytes or queue.buffering.max.messages"
    -181 _SSL Refused
        "TLS was refused; check security.protocol and the ssl settings"
    -172 _STATE Refused "the call does not fit the state that the client is in"
    -169 _AUTHENTICATION Refused
        "authentication was refused; check sasl.mechanism and the credentials"
    -168 _NO_OFFSET Refused "there is no offset to commit"
    -165 _UNSUPPORTED_FEATURE Refused "the broker is too old for what is asked"
    -152 _PURGE_QUEUE Refused "the record was purged from the producer's queue"
    -151 _PURGE_INFLIGHT Refused
        "the record was purged while it was under way; the broker may have it nevertheless"
    -150 _FATAL Fatal "a fatal error came before; a new client is needed"
    -147 _MAX_POLL_EXCEEDED Refused
        "the consumer was not polled for max.poll.interval.ms and has left its group; poll more often, take less at a time, or raise max.poll.interval.ms"
    -140 _AUTO_OFFSET_RESET Refused
        "there is no committed offset, or the log no longer has it, and auto.offset.reset=error"
    -139 _LOG_TRUNCATION Refused
        "the broker has lost records that were read already (unclean leader election)"
};

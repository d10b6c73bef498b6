'use strict'

// The one place that makes errors. Each has a stable `code`; none holds a secret or a session id.

// An argument or option that a programmer has to mend is a TypeError, anything else is an Error.
function createError(code, message, cause) {
  const Kind = code.startsWith('ERR_INVALID_') ? TypeError : Error
  const error = new Kind(message, cause === undefined ? undefined : { cause })
  error.code = code
  return error
}

// The addon's errors are made again here: in another realm (jest, vm) its own would be no `instanceof Error`.
function fromNative(error) {
  return typeof error?.code === 'string' ? createError(error.code, error.message) : error
}

module.exports = { createError, fromNative }

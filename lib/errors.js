'use strict'

// The one place that makes errors. Each has a stable `code`; none holds a secret or a session id.

const made = new WeakSet()

// An argument or option that a programmer has to mend is a TypeError, anything else is an Error.
function createError(code, message, cause) {
  const Kind = code.startsWith('ERR_INVALID_') ? TypeError : Error
  const error = new Kind(message, cause === undefined ? undefined : { cause })
  error.code = code
  made.add(error)
  return error
}

const NATIVE_CODE = /^ERR_(INVALID_(OPTION|ARGUMENT|SESSION_ID|TTL)|STORE_[A-Z]+|REDIS|RANDOM|INTERNAL)$/

// The addon's errors are made again here: in another realm (jest, vm) its own would be no `instanceof Error`. Any other
// error is left as it is.
function fromNative(error) {
  return NATIVE_CODE.test(error?.code) && !made.has(error) ? createError(error.code, error.message) : error
}

// What a caller's own code threw, as a failure that nobody takes for success, as a callback would `undefined`.
function toFailure(thrown, code = 'ERR_INVALID_SESSION') {
  if (isObject(thrown) || typeof thrown === 'function') return thrown
  return createError(code, `Code that was called for this session threw a value ${describe(thrown)}.`, thrown)
}

// Any object but an array: what it holds is for others to check.
function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

// What a value is, in words for a message.
function describe(value) {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'an array' : `of type ${typeof value}`
}

module.exports = { createError, describe, fromNative, isObject, toFailure }

'use strict'

// Options of the store that the addon is not told of, and those that are of no use.

const { createError, describe, isObject } = require('./errors')

function checkStoreOptions(options) {
  if (!isObject(options)) {
    throw createError('ERR_INVALID_OPTION', `The options are ${describe(options)}. Expected an object, or nothing.`)
  }
  if (options.client !== undefined) {
    throw createError(
      'ERR_INVALID_OPTION',
      'The option `client` is not used: this store makes its own connection to Redis. Expected this instead:\n' +
        "  const { RedisStore } = require('meetabl-session')\n" +
        "  const store = new RedisStore({ url: 'redis://localhost:6379' })"
    )
  }
  const { concurrency, fallback, serializer, skipWhenDown } = options
  if (skipWhenDown !== undefined && (typeof skipWhenDown !== 'boolean' || (skipWhenDown && fallback !== 'error'))) {
    throw createError(
      'ERR_INVALID_OPTION',
      "The option `skipWhenDown` cannot be used like this. Expected `true` together with `fallback: 'error'`, or `false`."
    )
  }
  if (concurrency !== undefined && concurrency !== 'merge' && concurrency !== 'last-write') {
    throw createError(
      'ERR_INVALID_OPTION',
      "The option `concurrency` is of no use. Expected 'merge' (changes of parallel requests are merged) or 'last-write'."
    )
  }
  if (serializer != null && ![serializer.parse, serializer.stringify].every((method) => typeof method === 'function')) {
    throw createError('ERR_INVALID_OPTION', 'The option `serializer` lacks a method. Expected `parse` and `stringify`.')
  }
  return options
}

module.exports = { checkStoreOptions }

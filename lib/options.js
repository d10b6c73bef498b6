'use strict'

// Options of the middleware, checked once: what cannot be used stops the start with an error that names it.

const { createError, describe, isObject } = require('./errors')

/** `checks` has a function for each option that there is, which says whether a value is fine, and what is expected. */
function checkOptions(options, checks) {
  if (!isObject(options)) {
    throw createError('ERR_INVALID_OPTION', `The options are ${describe(options)}. Expected an object, or nothing.`)
  }
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue
    if (!Object.hasOwn(checks, name)) {
      const known = Object.keys(checks).join(', ')
      throw createError('ERR_INVALID_OPTION', `The option \`${name}\` is unknown. Expected one of ${known}.`)
    }
    const { isFine, expected } = checks[name]
    if (!isFine(value)) refuseOption(name, show(value), expected)
  }
  return options
}

function refuseOption(name, found, expected) {
  throw createError('ERR_INVALID_OPTION', `\`${name}\` is ${found}. Expected ${expected}.`)
}

// Numbers and short words may be shown; anything else could be a secret.
function show(value) {
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  return typeof value === 'string' && value.length <= 64 ? `'${value}'` : describe(value)
}

const oneOf = (...values) => ({ isFine: (value) => values.includes(value), expected: values.map(show).join(' or ') })
const aFunction = { isFine: (value) => typeof value === 'function', expected: 'a function' }
const aFlag = oneOf(true, false)
// Checked by whoever reads it.
const anything = { isFine: () => true, expected: 'anything' }

module.exports = { aFlag, aFunction, anything, checkOptions, oneOf, refuseOption, show }

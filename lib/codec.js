'use strict'

// Sessions to texts and back, with a serializer that may fail, and whose `parse` may give a promise.

const { createError, describe, isObject } = require('./errors')
const { stringify } = require('./expiry')

const CANNOT_PARSE = 'the serializer cannot parse it'

/** The session in a text. What is none becomes what `unreadable(reason)` gives. */
function read(serializer, text, unreadable) {
  const check = (session) => (isObject(session) ? session : unreadable('it is no object'))
  let session
  try {
    session = serializer.parse(text)
  } catch {
    return unreadable(CANNOT_PARSE)
  }
  return typeof session?.then === 'function' ? session.then(check, () => unreadable(CANNOT_PARSE)) : check(session)
}

function write(serializer, session) {
  if (!isObject(session)) {
    throw createError('ERR_INVALID_SESSION', `The session is ${describe(session)}. Expected an object.`)
  }
  let text
  try {
    text = serializer === JSON ? stringify(session) : serializer.stringify(session)
  } catch (cause) {
    throw createError('ERR_INVALID_SESSION', 'The serializer failed on this session: `cause` says why.', cause)
  }
  if (typeof text === 'string') return text
  const made = `What the serializer made of this session is ${describe(text)}.`
  throw createError('ERR_INVALID_SESSION', `${made} Expected a string.`)
}

module.exports = { read, write }

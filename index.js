'use strict'

const { sessionHelpers } = require('./lib/helpers')
const { RedisStore } = require('./lib/store')

const { csrfProtection, csrfTokenRoute } = require('./lib/csrf')
const { sign, unsign } = require('./lib/keys')
const { meetablSession } = require('./lib/meetabl-session')
const { userAgentGuard } = require('./lib/user-agent')

module.exports = {
  RedisStore,
  sessionHelpers,

  csrfProtection,
  csrfTokenRoute,
  meetablSession,
  sign,
  unsign,
  userAgentGuard
}

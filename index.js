'use strict'

const { sessionHelpers } = require('./lib/helpers')
const { RedisStore } = require('./lib/store')

const { csrfProtection, csrfTokenRoute } = require('./lib/csrf')
const { sign, unsign } = require('./lib/keys')
const { userAgentGuard } = require('./lib/user-agent')

module.exports = {
  RedisStore,
  sessionHelpers,

  csrfProtection,
  csrfTokenRoute,
  sign,
  unsign,
  userAgentGuard
}

'use strict'

const { sessionHelpers } = require('./lib/helpers')
const { RedisStore } = require('./lib/store')

const { sign, unsign } = require('./lib/keys')

module.exports = {
  RedisStore,
  sessionHelpers,

  sign,
  unsign
}

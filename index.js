'use strict'

const { sessionHelpers } = require('./lib/helpers')
const { RedisStore } = require('./lib/store')

module.exports = { RedisStore, sessionHelpers }

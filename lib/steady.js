'use strict'

/** Milliseconds on a clock that goes on where tests set `Date` and `performance` to another time. */
const steady = performance.now.bind(performance)

module.exports = { steady }

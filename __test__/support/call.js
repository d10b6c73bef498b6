// Calls a store's method with a callback, as express-session does, and gives a promise of what the callback got. A
// callback that is called twice is a failure of its own.
function call(store, method, ...args) {
  let calls = 0
  return new Promise((resolve, reject) => {
    store[method](...args, (error, value) => {
      calls += 1
      if (calls > 1) throw new Error(`the callback of ${method}() was called ${calls} times`)
      if (error) reject(error)
      else resolve(value)
    })
  })
}

module.exports = { call }

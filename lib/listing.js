'use strict'

// Lists that are read batch by batch, as one array or one item after the other.

const { handOver, isCallback } = require('./callback')

/** `readPages()` gives batches. With a callback, hands it an array of all. Else returns a Listing. */
function listing(callback, readPages) {
  const list = new Listing(readPages)
  if (!isCallback(callback)) return list
  handOver(list, callback)
}

/** A promise of an array that reads nothing before it is awaited, and can be iterated over instead. */
class Listing {
  #readPages
  #promise = null

  constructor(readPages) {
    this.#readPages = readPages
  }

  async *[Symbol.asyncIterator]() {
    for await (const page of this.#readPages()) yield* page
  }

  // biome-ignore lint/suspicious/noThenProperty: being awaited is what it is for
  then(onFulfilled, onRejected) {
    this.#promise ??= this.#collect()
    return this.#promise.then(onFulfilled, onRejected)
  }

  catch(onRejected) {
    return this.then(undefined, onRejected)
  }

  finally(onFinally) {
    return this.then().finally(onFinally)
  }

  get [Symbol.toStringTag]() {
    return 'Promise'
  }

  async #collect() {
    const items = []
    for await (const page of this.#readPages()) {
      // One by one: as arguments of one call, a big page would overflow the stack.
      for (const item of page) items.push(item)
    }
    return items
  }
}

module.exports = { listing }

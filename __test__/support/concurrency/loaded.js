/** A session as a request of express-session holds it: read, and made by the store for this request. */
async function loaded(store, id) {
  const data = await store.get(id)
  return data && store.createSession({ sessionID: id, sessionStore: store }, data)
}

module.exports = { loaded }

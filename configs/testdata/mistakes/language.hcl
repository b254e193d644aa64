node {
  name     = hostname()
  region   = eu
}
media {
  ports  = 1 + 2
  shards = true ? 1 : 2
}

sip {
  shards = 1
  shards = 2
}

media {
  single_port = 3480
  ice_port    = 3480
  shards      = 4
}

node {
  name = "node-${region}"
}

node {
  roles = ["signalling", "medai"]
}
log {
  level = "warning"
}

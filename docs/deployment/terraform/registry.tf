# Where media nodes announce themselves. It holds nothing that is not written anew every two seconds, and known nodes
# go on being used while it is away: one small instance will do.
resource "google_redis_instance" "registry" {
  name               = "voxgender"
  tier               = "BASIC"
  memory_size_gb     = 1
  redis_version      = "REDIS_7_2"
  authorized_network = google_compute_network.voxgender.id
  auth_enabled       = true
}

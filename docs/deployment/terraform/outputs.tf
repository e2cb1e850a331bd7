output "url" {
  description = "Where callers reach voxgender."
  value       = google_cloud_run_v2_service.signaling.uri
}

output "turn_address" {
  description = "What the TURN server's host name has to resolve to."
  value       = one(google_compute_address.turn[*].address)
}

output "registry" {
  description = "For the Kubernetes secret of docs/deployment/gke.md."
  value       = local.secrets["voxgender-registry"]
  sensitive   = true
}

output "secret" {
  description = "For the Kubernetes secret of docs/deployment/gke.md."
  value       = local.secrets["voxgender-secret"]
  sensitive   = true
}

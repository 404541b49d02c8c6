export interface DeviceCalls {}

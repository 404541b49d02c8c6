export interface DirectoryCalls {}
